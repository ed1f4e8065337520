"""What is published: the manifest of each set, and the documents that quote them."""
