package main

import (
	"bytes"
	"crypto/md5" // as md5sums(5) of Debian has them: against damage, not against people
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

// A deb is a binary package of Debian (deb(5), deb-control(5)).
type deb struct {
	name, version, arch string
	section             string
	depends, suggests   string
	summary             string
	about               string            // one paragraph
	scripts             map[string][]byte // "postinst"
	files               tree
}

// pack writes a package: an archive of ar(5) with three members.
func (d *distribution) pack(p deb) ([]byte, error) {
	control, err1 := p.control().tar("./", d.time)
	data, err2 := p.files.tar("./", d.time)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	member(&b, "debian-binary", []byte("2.0\n"), d.time)
	for _, archive := range []struct {
		name string
		data []byte
	}{{"control.tar.gz", control}, {"data.tar.gz", data}} {
		zipped, err := d.zip(archive.data)
		if err != nil {
			return nil, err
		}
		member(&b, archive.name, zipped, d.time)
	}
	return b.Bytes(), nil
}

func member(b *bytes.Buffer, name string, data []byte, at time.Time) {
	fmt.Fprintf(b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", name, at.Unix(), 0, 0, "100644", len(data))
	b.Write(data)
	if len(data)%2 == 1 {
		b.WriteByte('\n')
	}
}

// control is what dpkg reads of the package.
func (p deb) control() tree {
	var fields, sums, kept strings.Builder
	for _, f := range [][2]string{
		{"Package", p.name},
		{"Version", p.version},
		{"Architecture", p.arch},
		{"Maintainer", "The authors of Tranquil <tranquil@localhost>"},
		{"Installed-Size", fmt.Sprint(p.files.size())},
		{"Depends", p.depends},
		{"Suggests", p.suggests},
		{"Section", p.section},
		{"Priority", "optional"},
		{"Description", p.summary + "\n " + p.about},
	} {
		if f[1] != "" {
			fmt.Fprintf(&fields, "%s: %s\n", f[0], f[1])
		}
	}
	for _, name := range p.files.names() {
		switch e := p.files[name]; {
		case e.kept:
			fmt.Fprintf(&kept, "/%s\n", name)
		case !e.mode.IsDir():
			fmt.Fprintf(&sums, "%x  %s\n", md5.Sum(e.data), name)
		}
	}
	t := tree{"control": {mode: 0o644, data: []byte(fields.String())}, "md5sums": {mode: 0o644, data: []byte(sums.String())}}
	if kept.Len() > 0 {
		t["conffiles"] = entry{mode: 0o644, data: []byte(kept.String())}
	}
	for name, script := range p.scripts {
		t[name] = entry{mode: fs.FileMode(0o755), data: script}
	}
	return t
}
