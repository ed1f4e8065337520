"""What is to be learned: one task, one file, one class called ``Task``."""
