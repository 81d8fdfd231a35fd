// Loaded before a server, so that two of them say the same at different times.
Date.prototype.toLocaleTimeString = () => "12:00:00";
require("node:crypto").randomUUID = () => "00000000-0000-4000-8000-000000000000";
