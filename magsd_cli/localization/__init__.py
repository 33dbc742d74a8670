"""Where the network looked (`magsd localize`): Fig. 7, eq. 12."""
