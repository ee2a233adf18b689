"""What is released: built, looked into, installed and used as a newcomer does."""
