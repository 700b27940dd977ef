package lwm2m

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"
)

// defaultLifetime is what a registration lasts if the device names no lifetime
// (OMA LwM2M 1.1 table 6.2.1).
const defaultLifetime = 24 * time.Hour

// maxLinks bounds the list of a device's objects in bytes: some thousand instances.
const maxLinks = 64 << 10

// rootType marks the link that has the root of a device's objects.
const rootType = "oma.lwm2m"

// Registration is what a device told about itself.
type Registration struct {
	ID       string // last segment of the location, /rd/{ID}
	Endpoint string
	Address  string // the peer it was last heard from
	Identity string // who the peer has proven to be, "" if nothing
	Lifetime time.Duration
	Version  string // of LwM2M: "1.0" or "1.1"
	Binding  string // "U" for UDP, "T" for TCP
	// QueueMode: the device sleeps, and listens only for a while after each message.
	QueueMode bool
	Root      string // alternate path of its objects, "" if none
	Links     []Link // the registration payload
	// Objects are the paths of Links: instances, and objects that have none or tell
	// their version.
	Objects []Path
	// Registered and Updated tell when.
	Registered, Updated time.Time

	format Format // in which the device is spoken to
}

// ObjectVersion is the version that the device has of an object: what its link
// says, or "1.0" (OMA LwM2M 1.1 section 7.2.2).
func (r Registration) ObjectVersion(id uint16) string { return cmp.Or(r.versions()[id], "1.0") }

// Typed tells whether values of the device come with their types, as in SenML. In TLV
// only who knows the definition of a resource can tell a text from a number.
func (r Registration) Typed() bool { return r.format != FormatTLV }

// versions are those that the device names.
func (r Registration) versions() map[uint16]string {
	m := map[uint16]string{}
	for _, l := range r.Links {
		if p, err := l.Path(r.Root); err == nil && p.Depth() == DepthObject && l.Attributes["ver"] != "" {
			m[p.Object()] = l.Attributes["ver"]
		}
	}
	return m
}

func (r Registration) clone() Registration {
	r.Links, r.Objects = slices.Clone(r.Links), slices.Clone(r.Objects)
	return r
}

// newRegistration reads a Register request (OMA LwM2M 1.1 section 6.2.1).
func newRegistration(peer string, m *Message, longest time.Duration) (Registration, error) {
	now := time.Now()
	r := Registration{
		ID: newID(), Address: peer, Identity: m.Identity, Lifetime: defaultLifetime, Binding: "U",
		Registered: now, Updated: now, format: FormatTLV,
	}
	for name, value := range queries(m.Query) {
		switch name {
		case "ep":
			r.Endpoint = value
		case "lwm2m":
			r.Version = value
		}
	}
	if r.Endpoint == "" {
		return r, Errorf(CodeBadRequest, "the endpoint name is missing")
	}
	if !supportedVersion(r.Version) {
		return r, Errorf(CodePreconditionFailed, "LwM2M version %q is not supported, use 1.0 or 1.1", r.Version)
	}
	return r, r.update(m, longest)
}

func supportedVersion(v string) bool {
	return v == "1.0" || v == "1.1" || strings.HasPrefix(v, "1.0.") || strings.HasPrefix(v, "1.1.")
}

// update reads what a Register and an Update request have in common.
func (r *Registration) update(m *Message, longest time.Duration) error {
	for name, value := range queries(m.Query) {
		switch name {
		case "lt":
			seconds, err := strconv.ParseUint(value, 10, 31)
			if err != nil || seconds == 0 {
				return Errorf(CodeBadRequest, "the lifetime %q is not a positive number of seconds", value)
			}
			r.Lifetime = time.Duration(seconds) * time.Second
		case "b":
			r.Binding, r.QueueMode = value, strings.Contains(value, "Q")
		case "Q":
			r.QueueMode = true
		}
	}
	if r.Lifetime > longest {
		return Errorf(CodeBadRequest, "the lifetime is %d s, at most %d s are accepted", r.Lifetime/time.Second, longest/time.Second)
	}
	if len(m.Payload) == 0 {
		return nil
	}
	if len(m.Payload) > maxLinks {
		return Errorf(CodeTooLarge, "the list of objects has %d bytes, at most %d are accepted", len(m.Payload), maxLinks)
	}
	if m.Format != nil && *m.Format != FormatLink {
		return Errorf(CodeUnsupportedFormat, "objects are listed in link format")
	}
	links, err := DecodeLinks(m.Payload)
	if err != nil {
		return err
	}
	r.setLinks(links)
	return nil
}

func (r *Registration) setLinks(links []Link) {
	r.Links, r.Objects, r.Root, r.format = links, nil, "", FormatTLV
	if i := slices.IndexFunc(links, func(l Link) bool { return l.Attributes["rt"] == rootType }); i >= 0 {
		r.Root = strings.Trim(links[i].Target, "/")
		r.format = preferredFormat(links[i].Attributes["ct"])
	}
	for _, l := range links {
		if p, err := l.Path(r.Root); err == nil && p.Depth() > DepthRoot && p.Depth() <= DepthInstance {
			r.Objects = append(r.Objects, p)
		}
	}
}

// preferredFormat picks from the formats that a device announces.
func preferredFormat(ct string) Format {
	offered := strings.Fields(ct)
	for _, f := range []Format{FormatSenMLCBOR, FormatSenMLJSON} {
		if slices.Contains(offered, strconv.Itoa(int(f))) {
			return f
		}
	}
	return FormatTLV
}

// queries goes through Uri-Query options of the form name=value.
func queries(options []string) func(yield func(name, value string) bool) {
	return func(yield func(name, value string) bool) {
		for _, o := range options {
			name, value, _ := strings.Cut(o, "=")
			if !yield(name, value) {
				return
			}
		}
	}
}

func newID() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
