// Package doctor looks for what is usually wrong with a device, and says what helps.
// Each check is about one thing, and harms nothing.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"syscall"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/space"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// What a check can find.
const (
	OK      = "ok"
	Warning = "warning" // it works, and may not for long
	Failure = "failure"
)

// A Finding is what a check has found.
type Finding struct {
	Check  string `json:"check"`
	State  string `json:"state"`
	Says   string `json:"says"`
	Remedy string `json:"remedy,omitempty"`
}

// Ok is a finding that needs nobody.
func Ok(check, format string, args ...any) Finding {
	return Finding{Check: check, State: OK, Says: fmt.Sprintf(format, args...)}
}

// Bad is one of what is broken.
func Bad(check, remedy, format string, args ...any) Finding {
	return Finding{Check: check, State: Failure, Says: fmt.Sprintf(format, args...), Remedy: remedy}
}

// Doubtful is one of what may break.
func Doubtful(check, remedy, format string, args ...any) Finding {
	f := Bad(check, remedy, format, args...)
	f.State = Warning
	return f
}

// Clock wants a time that can be true: after this program was built; and somebody who
// keeps it right.
func Clock(now, built time.Time, kept bool) Finding {
	const check = "clock"
	switch {
	case now.Before(built.Add(-24 * time.Hour)):
		return Bad(check, "set the clock, and have a battery or NTP keep it (systemd-timesyncd, chrony, or ntpd of BusyBox): certificates, signatures and maintenance windows go by it",
			"it is %s here, but this program was built at %s", now.Format(time.RFC3339), built.Format(time.RFC3339))
	case !kept:
		return Doubtful(check, "have NTP keep the clock right, if the device has a network; in a container that is the host's task", "nobody keeps the clock right, which says %s", now.Format(time.RFC3339))
	}
	return Ok(check, "it is %s", now.Format(time.RFC3339))
}

// Space wants room for an update on a disk, and for its files.
func Space(dir string, reserve int64) Finding {
	const check = "space"
	left, err := space.Left(dir, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Ok(check, "%s is not there yet", dir)
	case err != nil:
		return Bad(check, "look at the disk with df and dmesg", "cannot tell the room in %s: %v", dir, err)
	case left.Bytes < reserve || left.Files <= 0:
		return Bad(check, "free some: df and du tell where it is; [state] keep, keep_space and [files] deltas bound what the agent keeps", "%s has %d MB and room for %d files left, of which %d MB are the reserve: no update begins", dir, left.Bytes>>20, left.Files, reserve>>20)
	case left.Bytes < 4*reserve:
		return Doubtful(check, "free some: a large update may have no room", "%s has only %d MB left", dir, left.Bytes>>20)
	}
	return Ok(check, "%s has %d MB left", dir, left.Bytes>>20)
}

// Writable wants to write to a directory that is the agent's.
func Writable(dir string) Finding {
	const check = "permissions"
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return Ok(check, "%s is made when the agent starts", dir)
	}
	f, err := os.CreateTemp(dir, ".doctor-")
	if err != nil {
		remedy := "have it belong to the user that the agent runs as: chown"
		if errors.Is(err, syscall.EROFS) {
			remedy = "the file system is read-only: mount it to be written, or look with dmesg why the kernel has it so"
		}
		return Bad(check, remedy, "cannot write to %s: %v", dir, err)
	}
	f.Close()
	os.Remove(f.Name())
	return Ok(check, "%s can be written", dir)
}

// Updater wants the program of a component type to be there, and what it was.
func Updater(kind, path, pinned string) Finding {
	check := "updater " + kind
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Bad(check, "install the agent's package again, or say in [[updater]] where it is", "%s is missing", path)
	case err != nil:
		return Bad(check, "look at it with ls -l", "cannot use %s: %v", path, err)
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return Bad(check, "chmod 755 it", "%s cannot be executed (%v)", path, info.Mode())
	}
	sum, err := updater.Checksum(path)
	switch {
	case err != nil:
		return Bad(check, "look at the disk with dmesg; install the agent's package again", "cannot read %s: %v", path, err)
	case pinned != "" && sum != pinned:
		return Bad(check, "install it again, or if it was replaced on purpose, write its new sha256 into [[updater]]", "%s is not the program that is pinned: it has %s", path, sum)
	}
	return Ok(check, "%s", path)
}

// Route wants a server's name to be known, and a way there. Only of TCP it can be told
// whether somebody listens.
func Route(ctx context.Context, check, address string) Finding {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" {
		return Bad(check, "write it as in coaps://example.org:5684", "%q is no address", address)
	}
	if _, err := net.DefaultResolver.LookupHost(ctx, u.Hostname()); err != nil {
		return Bad(check, "check the name, /etc/resolv.conf, and that the device has a network: ip address, ip route", "cannot find %s: %v", u.Hostname(), err)
	}
	network, port := "udp", u.Port()
	if u.Scheme != "coap" && u.Scheme != "coaps" {
		network = "tcp"
	}
	if port == "" {
		port = map[string]string{"coap": "5683", "coap+tcp": "5683", "http": "80", "https": "443"}[u.Scheme]
	}
	if port == "" {
		port = "5684"
	}
	connection, err := new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(u.Hostname(), port))
	switch {
	case errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EHOSTUNREACH):
		return Bad(check, "give the device a way there: ip route; on a MICA the gateway of a container has to be set by hand", "there is no route to %s: %v", u.Host, err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return Bad(check, "start the server, or write the right port", "nobody listens at %s", u.Host)
	case err != nil:
		return Bad(check, "check the network between here and there, and firewalls", "cannot reach %s: %v", u.Host, err)
	}
	connection.Close()
	return Ok(check, "there is a way to %s", u.Host)
}
