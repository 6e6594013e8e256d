# /etc/profile.d/pulsegate.sh: the commands of pulsegate find the gateway's control socket here.
export PULSEGATE_CONTROL_PATH=/var/run/pulsegate/control.sock
