"""What runs came to, read back, put in words, tables and pictures."""
