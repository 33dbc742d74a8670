"""Localization (`magsd localize`): where the network looked; Fig. 7, eq. 12."""
