package lwm2m

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Link is one entry of a CoRE link format document (RFC 6690): an object, an
// instance or a resource, with attributes such as ver, pmin, ct.
type Link struct {
	Target     string // as written between < and >
	Attributes map[string]string
}

// Path reads the target as an LwM2M path below root, the alternate path of the
// registration ("" or "/" if there is none).
func (l Link) Path(root string) (Path, error) {
	root = strings.Trim(root, "/")
	target := strings.TrimPrefix(l.Target, "/")
	if root != "" {
		rest, ok := strings.CutPrefix(target+"/", root+"/")
		if !ok {
			return Path{}, fmt.Errorf("cannot read link %q: it is not under /%s", l.Target, root)
		}
		target = strings.TrimSuffix(rest, "/")
	}
	return ParsePath(strings.TrimSuffix(target, "/"))
}

// EncodeLinks writes links in CoRE link format, attributes in alphabetical
// order; numbers and versions are not quoted, everything else is.
func EncodeLinks(links []Link) []byte {
	var b strings.Builder
	for i, l := range links {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString("<" + l.Target + ">")
		for _, name := range slices.Sorted(maps.Keys(l.Attributes)) {
			b.WriteString(";" + name)
			if v := l.Attributes[name]; v != "" {
				b.WriteString("=" + quoteAttribute(v))
			}
		}
	}
	return []byte(b.String())
}

func quoteAttribute(v string) string {
	if strings.Trim(v, "0123456789.-") == "" {
		return v
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(v) + `"`
}

// DecodeLinks reads CoRE link format. The error is an [*Error] of code 4.00.
func DecodeLinks(payload []byte) ([]Link, error) {
	p := linkParser{rest: string(payload)}
	var links []Link
	for p.skipSpace(); p.rest != ""; {
		l, err := p.link()
		if err != nil {
			return nil, Errorf(CodeBadRequest, "cannot read link format: %v", err)
		}
		links = append(links, l)
		if p.take(",") && p.rest == "" {
			return nil, Errorf(CodeBadRequest, "cannot read link format: it ends in a comma")
		}
	}
	return links, nil
}

type linkParser struct{ rest string }

func (p *linkParser) skipSpace() { p.rest = strings.TrimLeft(p.rest, " \t\r\n") }

// take reads a delimiter and the space around it, if it is next.
func (p *linkParser) take(delimiter string) bool {
	p.skipSpace()
	rest, ok := strings.CutPrefix(p.rest, delimiter)
	p.rest = rest
	if ok {
		p.skipSpace()
	}
	return ok
}

func (p *linkParser) link() (Link, error) {
	if !p.take("<") {
		return Link{}, errors.New("a link does not begin with <")
	}
	target, rest, ok := strings.Cut(p.rest, ">")
	if !ok || strings.ContainsAny(target, "<\"") {
		return Link{}, errors.New("a target does not end with >")
	}
	l := Link{Target: target}
	p.rest = rest
	for p.take(";") {
		name := p.token()
		if name == "" {
			return Link{}, errors.New("an attribute has no name")
		}
		if l.Attributes == nil {
			l.Attributes = map[string]string{}
		}
		value, err := p.value()
		if err != nil {
			return Link{}, err
		}
		l.Attributes[name] = value
	}
	if p.rest != "" && p.rest[0] != ',' {
		return Link{}, errors.New("links are not separated by a comma")
	}
	return l, nil
}

func (p *linkParser) token() string {
	i := strings.IndexAny(p.rest, ";,=<>\" \t\r\n")
	if i < 0 {
		i = len(p.rest)
	}
	t := p.rest[:i]
	p.rest = p.rest[i:]
	return t
}

func (p *linkParser) value() (string, error) {
	if !p.take("=") {
		return "", nil
	}
	rest, quoted := strings.CutPrefix(p.rest, `"`)
	if !quoted {
		return p.token(), nil
	}
	var b strings.Builder
	for i := 0; i < len(rest); i++ {
		switch c := rest[i]; {
		case c == '"':
			p.rest = rest[i+1:]
			return b.String(), nil
		case c == '\\' && i+1 < len(rest):
			i++
			b.WriteByte(rest[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", errors.New("a quoted value does not end")
}
