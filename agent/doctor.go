package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/doctor"
	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/agent/internal/link"
	"github.com/tranquil-iot/tranquil/sdk/trust"
)

// doctorWithin bounds all checks together.
const doctorWithin = time.Minute

// errUnwell is the end of a doctor who has found something.
var errUnwell = errors.New("something is wrong")

// doctor looks for what is usually wrong, also if there is no agent or no
// configuration to be read.
func (o *options) doctor(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, doctorWithin)
	defer cancel()
	findings := o.examine(ctx)
	var err error
	if o.json {
		err = o.printJSON(findings)
	} else {
		err = o.tell(findings)
	}
	for _, f := range findings {
		if f.State == doctor.Failure {
			return errors.Join(err, errUnwell)
		}
	}
	return err
}

func (o *options) tell(findings []doctor.Finding) error {
	t := tabwriter.NewWriter(o.out, 0, 4, 2, ' ', 0)
	for _, f := range findings {
		state := f.State
		if state != doctor.OK {
			state = strings.ToUpper(state)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", state, f.Check, f.Says)
		if f.Remedy != "" {
			fmt.Fprintf(t, "\t\t→ %s\n", f.Remedy)
		}
	}
	return t.Flush()
}

// examine is all checks, in an order in which one explains the next.
func (o *options) examine(ctx context.Context) []doctor.Finding {
	c, err := readConfig(o.file)
	if err != nil {
		return []doctor.Finding{unreadable(err), o.clock()}
	}
	o.config = c
	findings := []doctor.Finding{
		doctor.Ok("configuration", "%s", strings.Join(configFiles(o.file), ", ")),
		o.clock(),
		doctor.Writable(c.Data),
		doctor.Writable(c.Run),
		doctor.Space(c.Data, c.Reserve),
		c.provenBy(),
		c.trustedBy(),
	}
	for _, u := range c.Updaters {
		path, _, err := u.program()
		if err != nil {
			findings = append(findings, doctor.Bad("updater "+u.Type, "install the agent's package again", "%v", err))
			continue
		}
		findings = append(findings, doctor.Updater(u.Type, path, u.SHA256))
	}
	findings = append(findings, c.routes(ctx)...)
	return append(findings, o.running(ctx)...)
}

// routes looks for a way to each server.
func (c config) routes(ctx context.Context) (findings []doctor.Finding) {
	for _, server := range []struct {
		check     string
		addresses []string
	}{
		{"LwM2M server", append([]string{c.LwM2M.Server}, c.LwM2M.Also...)},
		{"bootstrap server", []string{c.LwM2M.Bootstrap}},
		{"file server", append([]string{c.Files.URL}, c.Files.Also...)},
	} {
		for _, address := range server.addresses {
			if address != "" {
				findings = append(findings, doctor.Route(ctx, server.check, address))
			}
		}
	}
	return findings
}

func unreadable(err error) doctor.Finding {
	remedy := "correct what it says, and look again with tranquil-agent config"
	switch {
	case errors.Is(err, fs.ErrPermission):
		remedy = "do this as the user that the agent runs as: root"
	case errors.Is(err, errNoEndpoint):
		remedy = "enrol the device: tranquil-agent enrol, with the invitation of its page"
	}
	return doctor.Bad("configuration", remedy, "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
}

// clock compares with when this program was built.
func (o *options) clock() doctor.Finding {
	var built time.Time
	if path, err := os.Executable(); err == nil {
		if info, err := os.Stat(path); err == nil {
			built = info.ModTime()
		}
	}
	return doctor.Clock(time.Now(), built, synchronised())
}

// provenBy looks at what the device proves itself with.
func (c config) provenBy() doctor.Finding {
	const check = "identity"
	if _, err := c.LwM2M.proof(c.Endpoint); err != nil {
		remedy := "do what it says, or enrol the device again: tranquil-agent enrol"
		if errors.Is(err, fs.ErrPermission) {
			remedy = "do this as the user that the agent runs as: root"
		}
		return doctor.Bad(check, remedy, "%v", err)
	}
	return doctor.Ok(check, "%s", c.Endpoint)
}

// trustedBy looks at the root that packages are trusted by.
func (c config) trustedBy() doctor.Finding {
	const check = "trust"
	switch {
	case c.Trust.Unsigned:
		return doctor.Ok(check, "packages need no signature, as the configuration says")
	case c.Trust.Root == "":
		return doctor.Doubtful(check, "enrol again when the backend has a root (tranquil trust init), or say trust.unsigned = true", "packages need no signature: whoever controls the backend decides what is installed")
	}
	root, err := os.ReadFile(c.Trust.Root)
	if err == nil {
		err = trust.CheckRoot(root)
	}
	if err != nil {
		return doctor.Bad(check, "bring the root from who signs packages, or enrol again", "no package can be trusted: %v", err)
	}
	return doctor.Ok(check, "%s", c.Trust.Root)
}

// running asks the agent itself.
func (o *options) running(ctx context.Context) []doctor.Finding {
	about, err := link.About(ctx, o.config.control())
	if err != nil {
		return []doctor.Finding{doctor.Bad("agent", "start it: systemctl start tranquil-agent, or /etc/init.d/tranquil-agent start; its log says why it has ended: journalctl -u tranquil-agent, or /var/log/tranquil-agent.log", "%v", err)}
	}
	findings := []doctor.Finding{doctor.Ok("agent", "version %s runs since %s", about.Version, moment(about.Started))}
	switch {
	case about.Endpoint != o.config.Endpoint || !o.config.knows(about.Server):
		findings = append(findings, doctor.Doubtful("registration", "restart it", "the agent goes by an older configuration: %s, of %s", about.Endpoint, about.Server))
	case about.Registered:
		findings = append(findings, doctor.Ok("registration", "since %s", moment(about.Since)))
	default:
		findings = append(findings, doctor.Bad("registration", "if there is a way to the server, see that it knows the device and its key: the device's page, or tranquil device show; then enrol again. A firewall may let no UDP pass", "%s has not taken the device", about.Server))
	}
	views, err := link.Status(ctx, o.config.control())
	if err != nil {
		return append(findings, doctor.Bad("components", "restart the agent", "%v", err))
	}
	if len(views) > 0 && views[0].Fault != "" {
		findings = append(findings, doctor.Bad("safe mode", "tranquil-agent repair", "%s", views[0].Fault))
	}
	for _, v := range views {
		findings = append(findings, healthOf(v))
	}
	return findings
}

// healthOf is how a component does.
func healthOf(v engine.View) doctor.Finding {
	switch {
	case v.Outcome != nil && v.Outcome.Result == engine.Inconsistent:
		return doctor.Bad(v.Component, "tranquil-agent repair "+v.Component+" with --keep or --restore; tranquil-agent state list "+v.Component, "%s", v.Outcome.Cause)
	case v.Trust.Trouble != "":
		return doctor.Bad(v.Component, "have the publisher look: tranquil trust show", "signatures are in trouble: %s", v.Trust.Trouble)
	case v.Installed.Version != "" && !v.Running && !v.Inactive && v.Progress == nil:
		return doctor.Bad(v.Component, "tranquil-agent logs, and the log of the component, say why", "version %s does not run", v.Installed.Version)
	case v.Outcome != nil && v.Outcome.Cause != "":
		return doctor.Doubtful(v.Component, "tranquil-agent history "+v.Component, "version %s; the last update: %s", v.Installed.Version, result(v.Outcome))
	case v.Installed.Version == "":
		return doctor.Ok(v.Component, "not installed")
	}
	return doctor.Ok(v.Component, "version %s", v.Installed.Version)
}
