"""A trainer for each kind of classifier: the jobs by which it is trained on what earlier stages made."""
