"""Pictures, by matplotlib and seaborn."""
