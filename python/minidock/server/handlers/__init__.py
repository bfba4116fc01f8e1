"""What answers requests, one module a noun: functions that take a :class:`~minidock.server.http.Request`."""
