"""What changes the generator: text-encoder tuning and textual inversion."""
