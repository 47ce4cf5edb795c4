"""Steps of "Diverse and Tailored Image Generation"."""
