"""Schedules become machine code; one folder for each kind of device."""
