"""The pages of booking in the console: see `walnut.booking.page`."""
