"""How sure a score or a difference is: over seeds and over test rows, tests, effect sizes, label equivalence."""
