package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/enrolment"
	"github.com/tranquil-iot/tranquil/agent/internal/link"
	"github.com/tranquil-iot/tranquil/sdk/enrol"
)

// How long enrol waits: for the backend's answer, and for the device to be
// registered.
const (
	enrolWithin    = 2 * time.Minute
	registerWithin = 2 * time.Minute
)

// enrol makes the device one of a backend's, for the first time or anew.
func (o *options) enrol(ctx context.Context, words []string) error {
	if len(words) != 1 {
		return fmt.Errorf("want enrol with an invitation, or with the device's connection string in quotes: %w", errUsage)
	}
	folder := enrolment.Folder(filepath.Dir(o.file))
	grant, err := o.granted(ctx, folder, words[0])
	if err != nil {
		return err
	}
	if o.root != "" {
		if grant.Root, err = os.ReadFile(o.root); err != nil {
			return fmt.Errorf("cannot read the root that packages are trusted by: %w", err)
		}
	}
	err = folder.Write(grant, func(candidate string) (err error) {
		o.config, err = readConfigOf(o.file, folder.Config(), candidate)
		return err
	})
	if err != nil {
		return fmt.Errorf("the device stays what it was: %w", err)
	}
	fmt.Fprintf(o.out, "This device is %s, of %s.\n", grant.Device, grant.Server)
	if len(grant.Root) == 0 && o.config.Trust.Root == "" && !o.config.Trust.Unsigned {
		fmt.Fprintln(o.out, "Packages need no signature here: the backend has no root yet (tranquil trust init). To have it, enrol again.")
	}
	if err := o.startAgent(ctx); err != nil {
		return err
	}
	return o.awaitRegistration(ctx)
}

// granted is what an invitation is exchanged for, or what a connection string says.
func (o *options) granted(ctx context.Context, folder enrolment.Folder, word string) (enrol.Grant, error) {
	if strings.Contains(word, "=") && !strings.Contains(word, "://") {
		return o.connected(word)
	}
	invitation, err := enrol.Parse(word)
	if err != nil {
		return enrol.Grant{}, err
	}
	claim, err := folder.Claim()
	if err != nil {
		return enrol.Grant{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, enrolWithin)
	defer cancel()
	return enrolment.Ask(ctx, invitation, claim, version)
}

// connected reads a device's connection string. Its hub is where the servers of a
// backend are, unless that is said otherwise.
func (o *options) connected(text string) (enrol.Grant, error) {
	values := map[string]string{}
	for field := range strings.SplitSeq(strings.TrimSpace(text), ";") {
		name, value, _ := strings.Cut(field, "=")
		values[strings.ToLower(name)] = value
	}
	host := values["hostname"]
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	key, err := base64.StdEncoding.DecodeString(values["sharedaccesskey"])
	if host == "" || values["deviceid"] == "" || err != nil || len(key) == 0 {
		return enrol.Grant{}, errors.New("this is no connection string of a device, which looks like HostName=…;DeviceId=…;SharedAccessKey=…, the key in base64")
	}
	g := enrol.Grant{Device: values["deviceid"], Key: key, Server: "coaps://" + net.JoinHostPort(host, "5684"), Files: "coaps://" + net.JoinHostPort(host, "5685")}
	if o.server != "" {
		g.Server = o.server
	}
	if o.files != "" {
		g.Files = o.files
	}
	return g, g.Check()
}

// startAgent has the running agent go by the new configuration, or starts the service.
func (o *options) startAgent(ctx context.Context) error {
	if link.Restart(ctx, o.config.control()) == nil {
		return nil
	}
	for _, way := range []struct {
		file    string
		command []string
	}{
		{"/run/systemd/system", []string{"systemctl", "start", "tranquil-agent"}},
		{"/etc/init.d/tranquil-agent", []string{"/etc/init.d/tranquil-agent", "start"}},
	} {
		if _, err := os.Stat(way.file); err != nil || o.file != defaultConfig {
			continue
		}
		if said, err := exec.CommandContext(ctx, way.command[0], way.command[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("cannot start the agent: %w: %s", err, said)
		}
		return nil
	}
	return nil // whoever keeps it running tries again by himself
}

// awaitRegistration waits until the server has taken the device.
func (o *options) awaitRegistration(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, registerWithin)
	defer cancel()
	fmt.Fprintln(o.out, "Waiting until it is registered.")
	for {
		about, err := link.About(ctx, o.config.control())
		if err == nil && about.Registered && about.Endpoint == o.config.Endpoint && o.config.knows(about.Server) {
			fmt.Fprintf(o.out, "It is registered, and has reported what it has.\n")
			return nil
		}
		select {
		case <-ctx.Done():
			if err != nil {
				return fmt.Errorf("the device is enrolled, but its agent does not run yet: %w", err)
			}
			return errors.New("the device is enrolled, but its server has not taken it yet; it tries again by itself: tranquil-agent doctor says what may be wrong")
		case <-time.After(followPause):
		}
	}
}
