"""Speed, as ratios against the raw API call in the same run."""
