"""medapps: medical-image applications on minidl. For research, not a medical device."""
