package systemd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/unit"
)

const suffix = ".service"

// A Unit is a process of a component.
type Unit struct {
	Name        string // see [Name]
	Description string // COMPONENT ID; see [Manager.Find]
	Command     []string
	Dir         string
	Env         []string // KEY=VALUE
	Fresh       []string // files to remove before each start
	Makes       string   // directory that is made before each start
	Needs       []string // directories that must be there for a start
	Grace       time.Duration
	Options     Options
	With        []string // names of units that run with this one
	Of          string   // the unit that this one runs with
	Stay        bool     // it is there after a boot
	Boot        bool     // and runs before anybody asks for it
}

// Options are what a package says of its units, by section and name, as in
// systemd.unit(5), systemd.service(5) and systemd.exec(5).
type Options map[string]map[string]Values

// Values are those of one option; most have one.
type Values []string

// UnmarshalJSON reads a string or a list of strings.
func (v *Values) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*v = Values{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(v))
}

// reserved are options that packages cannot set, and where to say it instead.
var reserved = map[string]string{
	"Service.ExecStart": "command", "Service.Environment": "env", "Service.EnvironmentFile": "env", "Service.UnsetEnvironment": "env",
	"Service.WorkingDirectory": "the version's directory, always", "Service.KillMode": "mixed, always", "Service.SendSIGKILL": "true, always",
	"Service.RemainAfterExit": "false, always", "Service.TimeoutStopSec": "grace", "Service.TimeoutSec": "grace, and TimeoutStartSec", "Service.Restart": "always",
	"Unit.Description": "the component's name, always", "Unit.PartOf": "processes", "Unit.AssertPathIsDirectory": "what must be there is the state",
	"Unit.RefuseManualStart": "who updates it starts it", "Unit.RefuseManualStop": "who updates it stops it", "Unit.StopWhenUnneeded": "who updates it stops it",
}

// reservedKinds begin the names of more such options.
var reservedKinds = map[string]string{
	"Service.User": "nobody but root reaches the state", "Service.Group": "nobody but root reaches the state", "Service.DynamicUser": "nobody but root reaches the state",
	"Service.Root": "the version's files are on the device",
}

func instead(option string) (where string, is bool) {
	if where, is = reserved[option]; is {
		return where, is
	}
	for kind, where := range reservedKinds {
		if strings.HasPrefix(option, kind) {
			return where, true
		}
	}
	return "", false
}

// Check refuses what is no option, or not the package's.
func (o Options) Check() error {
	for section, options := range o {
		if section != "Unit" && section != "Service" {
			return fmt.Errorf(`unit has a section %q: there are "Unit" and "Service"`, section)
		}
		for name, values := range options {
			if where, is := instead(section + "." + name); is {
				return fmt.Errorf("unit.%s.%s is not a package's to set: %s", section, name, where)
			}
			if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") != "" {
				return fmt.Errorf("unit.%s has no option %q", section, name)
			}
			if slices.ContainsFunc(values, func(v string) bool { return strings.ContainsAny(v, "\n\r\x00") || strings.HasSuffix(v, `\`) }) {
				return fmt.Errorf("unit.%s.%s must be one line", section, name)
			}
		}
	}
	if values, set := o["Service"]["Type"]; set && (len(values) != 1 || !slices.Contains([]string{"simple", "exec", "notify"}, values[0])) {
		return errors.New("unit.Service.Type must be simple, exec or notify: systemd has to know the process")
	}
	return nil
}

// Name is that of a unit: prefix tells components apart, id versions, and process
// those that run with the first, which has none.
func Name(prefix, id, process string) string {
	if process != "" {
		process = "." + process // no colon, which systemd-analyze takes for something else
	}
	return Prefix(prefix, id) + process + suffix
}

// Beside is in the description of a unit that runs with another one.
const Beside = " ("

// Prefix begins the names of a version's units.
func Prefix(prefix, id string) string { return prefix + strings.ReplaceAll(id, "+", "_") }

// Text is the unit file.
func (u Unit) Text(target string) string {
	var all []*unit.UnitOption
	add := func(section, name string, values ...string) {
		for _, v := range values {
			all = append(all, unit.NewUnitOption(section, name, v))
		}
	}
	add("Unit", "Description", escape(u.Description))
	// What the package says comes before the rest, so that it can take back nothing of ours.
	for _, section := range []string{"Unit", "Service"} {
		for _, name := range slices.Sorted(maps.Keys(u.Options[section])) {
			add(section, name, u.Options[section][name]...)
		}
	}
	add("Unit", "StartLimitIntervalSec", "0") // a component that crashes is started again for ever
	add("Unit", "AssertPathIsDirectory", escapeAll(u.Needs)...)
	add("Unit", "Wants", u.With...) // with Requires, one that crashes would end the others
	if u.Of != "" {
		add("Unit", "PartOf", u.Of)
	}
	own := u.Options["Service"]
	for _, option := range [][2]string{{"Type", "exec"}, {"RestartSec", "100ms"}} {
		if own[option[0]] == nil {
			add("Service", option[0], option[1])
		}
	}
	if u.Makes != "" { // what is in /run is gone after a boot
		add("Service", "ExecStartPre", "-/bin/mkdir -p -m 700 -- "+quote(u.Makes, true))
	}
	if len(u.Fresh) > 0 {
		add("Service", "ExecStartPre", "-/bin/rm -f -- "+quoteAll(u.Fresh))
	}
	add("Service", "ExecStart", strings.TrimSpace(quote(u.Command[0], false)+" "+quoteAll(u.Command[1:]))) // in a path, $ is $
	add("Service", "WorkingDirectory", escape(u.Dir))
	for _, variable := range u.Env {
		add("Service", "Environment", quote(variable, false))
	}
	add("Service", "Restart", "always")
	add("Service", "KillMode", "mixed")
	// Who stops it uses force himself; this is for a device that goes down.
	add("Service", "TimeoutStopSec", strconv.FormatInt(int64((u.Grace+5*time.Second).Seconds()), 10))
	if u.Boot {
		add("Install", "WantedBy", target)
	}
	file, _ := io.ReadAll(unit.Serialize(all)) // from memory
	return string(file)
}

// escape has systemd take a text as it is (systemd.unit(5), "Specifiers").
func escape(text string) string { return strings.ReplaceAll(text, "%", "%%") }

func escapeAll(texts []string) (all []string) {
	for _, text := range texts {
		all = append(all, escape(text))
	}
	return all
}

func quoteAll(words []string) string {
	var all []string
	for _, word := range words {
		all = append(all, quote(word, true))
	}
	return strings.Join(all, " ")
}

// quote writes one word (systemd.syntax(7), "Quoting"), of a command line if so: there, variables have to be kept from being
// expanded (systemd.service(5), "Command lines").
func quote(word string, command bool) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(word) {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '%', c == '$' && command:
			b.WriteByte(c)
			b.WriteByte(c)
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
