# /etc/profile.d/pulsegate.sh: where "pulsegate devices" and the other calls find the gateway.
export PULSEGATE_CONTROL_PATH=/var/run/pulsegate.sock
