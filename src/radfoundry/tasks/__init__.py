"""What is asked: the clinical questions and the heads that answer them."""
