"""What came out: records, where they are kept, and the tables and figures made from them."""
