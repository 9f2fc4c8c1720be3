"""What `config.task` names, a file each; each task is a function of the config and the run's folder."""
