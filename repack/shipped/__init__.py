"""Files that repack ships to targets as they are; nothing here is imported by repack."""
