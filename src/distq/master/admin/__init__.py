"""What operators call at the master: dead letters, limits, schedules, cancels, backups, inspection."""
