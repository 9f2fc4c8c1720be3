"""From tables of counts to what a report says: thresholds, populations, intervals, differences."""
