"""What the parity, resume and bench tests share: tiny tasks, cells, exact comparison."""
