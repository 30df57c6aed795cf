"""Pictures and pages: what reports and notebooks are drawn with."""
