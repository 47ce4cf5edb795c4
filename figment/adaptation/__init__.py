"""What changes the generator: text-encoder tuning, textual inversion and LoRAs."""
