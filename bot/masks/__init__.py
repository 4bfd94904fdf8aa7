"""What a mask means, in every way a person has one."""
