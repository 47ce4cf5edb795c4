"""What a paper's recipe differs in: the sections of its report."""
