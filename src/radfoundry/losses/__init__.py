"""Pure tensor functions that training minimises."""
