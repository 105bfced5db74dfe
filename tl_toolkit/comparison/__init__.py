"""The comparison: plan, execution, verdict, report, and its publishing."""
