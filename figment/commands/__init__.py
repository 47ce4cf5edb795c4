"""What each command of the command line does, with the options that were typed; libraries are imported when they are needed."""
