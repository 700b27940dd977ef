package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/agent/internal/link"
)

// history prints how updates have ended, the newest first.
func (o *options) history(ctx context.Context, words []string) error {
	if len(words) > 1 {
		return fmt.Errorf("want history [COMPONENT]: %w", errUsage)
	}
	outcomes, err := link.History(ctx, o.config.control())
	if err != nil {
		return err
	}
	if len(words) == 1 {
		v, err := o.view(ctx, words[0])
		if err != nil {
			return err
		}
		outcomes = of(v.Component, outcomes)
	}
	if o.json {
		return o.printJSON(outcomes)
	}
	t := tabwriter.NewWriter(o.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "TIME\tCOMPONENT\tFROM\tUPDATE")
	for i := len(outcomes) - 1; i >= 0; i-- {
		outcome := outcomes[i]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", moment(outcome.At), outcome.Component, outcome.From, result(&outcome))
	}
	return t.Flush()
}

// of are the outcomes of one component.
func of(component string, all []engine.Outcome) (some []engine.Outcome) {
	for _, o := range all {
		if o.Component == component {
			some = append(some, o)
		}
	}
	return some
}

// logs prints the last lines of what the agent has logged since it was started.
func (o *options) logs(ctx context.Context, words []string) error {
	if len(words) > 0 {
		return fmt.Errorf("logs takes no %q: %w", words[0], errUsage)
	}
	lines, err := link.Logs(ctx, o.config.control())
	if err != nil {
		return err
	}
	if o.json {
		return o.printJSON(lines)
	}
	_, err = io.WriteString(o.out, strings.Join(lines, ""))
	return err
}

// metrics prints what the agent measures of itself.
func (o *options) metrics(ctx context.Context, words []string) error {
	if len(words) > 0 {
		return fmt.Errorf("metrics takes no %q: %w", words[0], errUsage)
	}
	text, err := link.Metrics(ctx, o.config.control())
	if err != nil {
		return err
	}
	_, err = o.out.Write(text)
	return err
}

// system is what a support bundle has of the device, by name in the bundle. There are
// no keys in it, and nothing of the components' own.
var system = map[string]string{
	"os-release": "/etc/os-release", "kernel": "/proc/version", "memory": "/proc/meminfo", "uptime": "/proc/uptime",
	"mounts": "/proc/self/mountinfo", "routes": "/proc/net/route", "routes6": "/proc/net/ipv6_route", "interfaces": "/proc/net/dev",
	"resolv.conf": "/etc/resolv.conf",
	"agent.log":   "/var/log/tranquil-agent.log", "agent.log.1": "/var/log/tranquil-agent.log.1",
}

// maxSystem bounds a file of the device in a bundle, in bytes: its end.
const maxSystem = 4 << 20

// supportBundle writes all that whoever helps from afar asks for, also if half of it
// cannot be had.
func (o *options) supportBundle(ctx context.Context, words []string) error {
	if len(words) > 0 {
		return fmt.Errorf("support-bundle takes no %q: %w", words[0], errUsage)
	}
	o.config, _ = readConfig(o.file) // the doctor says what is wrong with it
	if o.output == "-" {
		o.output = "tranquil-" + o.config.Endpoint + "-" + time.Now().UTC().Format("20060102-150405") + ".tar.gz"
	}
	files := map[string][]byte{}
	for name, command := range map[string]func(*options) error{
		"version.txt":     func(b *options) error { return about["version"](b, nil) },
		"doctor.json":     func(b *options) error { return b.doctor(ctx) },
		"status.json":     func(b *options) error { return b.status(ctx, nil) },
		"components.json": func(b *options) error { return b.components(ctx, nil) },
		"history.json":    func(b *options) error { return b.history(ctx, nil) },
		"logs.txt":        func(b *options) error { b.json = false; return b.logs(ctx, nil) },
		"metrics.txt":     func(b *options) error { return b.metrics(ctx, nil) },
	} {
		var said bytes.Buffer
		bundled := *o
		bundled.out, bundled.json = &said, true
		if err := command(&bundled); err != nil && !errors.Is(err, errUnwell) {
			fmt.Fprintln(&said, err)
		}
		files[name] = said.Bytes()
	}
	for _, path := range configFiles(o.file) {
		files["config/"+filepath.Base(path)] = endOf(path)
	}
	for name, path := range system {
		files["system/"+name] = endOf(path)
	}
	if err := writeBundle(o.output, files); err != nil {
		return fmt.Errorf("cannot write %s: %w", o.output, err)
	}
	_, err := fmt.Fprintf(o.out, "%s has what the agent knows and says, its configuration and how this device is set up; no keys.\n", o.output)
	return err
}

// endOf is the end of a file, or why it cannot be read.
func endOf(path string) []byte {
	text, err := os.ReadFile(path)
	if err != nil {
		return []byte(err.Error() + "\n")
	}
	return text[max(0, len(text)-maxSystem):]
}

func writeBundle(path string, files map[string][]byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	zw := gzip.NewWriter(f)
	w := tar.NewWriter(zw)
	top := strings.TrimSuffix(filepath.Base(path), ".tar.gz")
	for _, name := range slices.Sorted(maps.Keys(files)) {
		err = errors.Join(err, w.WriteHeader(&tar.Header{Name: top + "/" + name, Mode: 0o600, Size: int64(len(files[name])), ModTime: time.Now()}))
		if err == nil {
			_, err = w.Write(files[name])
		}
	}
	return errors.Join(err, w.Close(), zw.Close(), f.Close())
}
