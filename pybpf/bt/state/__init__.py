"""What a script keeps and sends: its maps, and the records that ask user space to act."""
