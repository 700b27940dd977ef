#!/bin/sh
# init.sh DIR COMMAND…: one boot of a device. Its boot loader chooses a slot; then its services begin, and its agent,
# which is looked after. It goes down, all at once, when somebody asks for a reboot.
dir=$1
shift

cd "$dir/loader" || exit 1
first=$(cat primary)
[ "$first" = A ] && other=B || other=A
booted=
for slot in "$first" "$other"; do
	[ "$(cat $slot)" = good ] || continue
	if [ "$(head -n 1 "../$slot")" = broken ]; then # it has tried often enough
		echo bad >$slot
		continue
	fi
	booted=$slot
	break
done
[ -n "$booted" ] || { touch "$dir/dead" "$dir/off"; exit 1; }
echo $booted >"$dir/booted"
echo boot >>"$dir/boots"

mount -t tmpfs tmpfs /run && mkdir -p /run/dbus /run/etc && cp -a /etc/. /run/etc && mkdir -p /run/etc/tranquil &&
	cp "$dir/firmware.json" /run/etc/tranquil && mount --bind /run/etc /etc || exit 1
rm -f "$dir/reboot"
dbus-daemon --config-file="$dir/bus.conf" --nofork --nopidfile &
until [ -S /run/dbus/system_bus_socket ]; do sleep 0.05; done
rauc -c "$dir/system.conf" service --override-boot-slot=$booted &
while :; do
	"$@"
	sleep 0.2
done &
while [ -d "$dir" ] && [ ! -e "$dir/reboot" ] && [ ! -e "$dir/off" ]; do sleep 0.1; done
