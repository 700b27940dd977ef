#!/bin/sh
# power.sh DIR COMMAND…: a device that is switched on. It boots again and again, until it is switched off: each
# time in namespaces of its own, whose first process is its init.
dir=$1
trap 'touch "$dir/off"' TERM INT
while [ -d "$dir" ] && [ ! -e "$dir/off" ]; do
	unshare --mount --pid --fork --kill-child --mount-proc /bin/sh "$dir/init.sh" "$@" &
	until wait $!; [ $? -lt 128 ]; do :; done # a signal has ended the wait, not the device
done
