// Package registry has the definitions of the objects 0 to 9 of LwM2M 1.0 and 1.1
// and of IPSO's sensors, by version. They are for servers and tools that meet
// devices of others; a device that is written in Go takes its definitions from
// package objects and saves the space. Who has a copy of the OMA registry's files
// reads them with [Read].
package registry

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
)

// table has the definitions in a form of our own, which its first lines explain.
//
//go:embed definitions.txt
var table string

// Library has all definitions of this package; add others to it as needed. Each
// call gives a copy of its own.
func Library() *lwm2m.Library {
	library := new(lwm2m.Library)
	library.Add(definitions()...)
	return library
}

var definitions = sync.OnceValue(func() []lwm2m.Definition {
	all, err := parse(table)
	if err != nil {
		panic(err) // the table is part of this package
	}
	return all
})

// Read reads the definitions in all files of a folder that end in .xml, such as a
// copy of the OMA registry. An error names each file that could not be read; what
// the others define is given all the same.
func Read(folder fs.FS) ([]lwm2m.Definition, error) {
	names, err := fs.Glob(folder, "*.xml")
	if err != nil {
		return nil, err
	}
	var all []lwm2m.Definition
	var failed []error
	for _, name := range names {
		list, err := read(folder, name)
		all, failed = append(all, list...), append(failed, err)
	}
	return all, errors.Join(failed...)
}

func read(folder fs.FS, name string) ([]lwm2m.Definition, error) {
	f, err := folder.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := lwm2m.ParseDDF(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return list, nil
}

func parse(table string) ([]lwm2m.Definition, error) {
	var all []lwm2m.Definition
	for line := range strings.Lines(table) {
		line = strings.TrimSuffix(line, "\n")
		row, isResource := strings.CutPrefix(line, "\t")
		switch {
		case strings.HasPrefix(line, "#"):
		case !isResource:
			d, err := parseObject(line)
			if err != nil {
				return nil, fmt.Errorf("cannot read the object %q: %w", line, err)
			}
			all = append(all, d)
		default:
			r, err := parseResource(row)
			if err != nil || len(all) == 0 {
				return nil, fmt.Errorf("cannot read the resource %q: %w", row, err)
			}
			last := &all[len(all)-1]
			last.Resources = append(last.Resources, r)
		}
	}
	return all, nil
}

func parseObject(line string) (d lwm2m.Definition, err error) {
	f := strings.SplitN(line, " ", 5)
	if len(f) < 5 {
		return d, errors.New("a column is missing")
	}
	d.ID, err = number(f[0])
	d.Version, d.Multiple, d.Mandatory, d.Name = f[1], f[2] == "multiple", f[3] == "mandatory", f[4]
	return d, err
}

var (
	kinds = map[string]lwm2m.Kind{
		"none": lwm2m.KindNone, "string": lwm2m.KindString, "integer": lwm2m.KindInteger, "unsigned": lwm2m.KindUnsigned,
		"float": lwm2m.KindFloat, "boolean": lwm2m.KindBoolean, "opaque": lwm2m.KindOpaque, "time": lwm2m.KindTime, "link": lwm2m.KindLink,
	}
	operations = map[string]lwm2m.Operations{"-": 0, "R": lwm2m.R, "W": lwm2m.W, "RW": lwm2m.RW, "E": lwm2m.E}
)

func parseResource(row string) (r lwm2m.Resource, err error) {
	f := strings.SplitN(row, " ", 7)
	if len(f) < 7 {
		return r, errors.New("a column is missing")
	}
	var known, typed bool
	r.ID, err = number(f[0])
	r.Operations, known = operations[f[1]]
	r.Kind, typed = kinds[f[4]]
	if !known || !typed {
		return r, errors.New("an operation or a type is unknown")
	}
	r.Multiple, r.Mandatory, r.Name = f[2] == "multiple", f[3] == "mandatory", f[6]
	if f[5] != "-" {
		r.Units = f[5]
	}
	return r, err
}

func number(s string) (uint16, error) {
	p, err := lwm2m.ParsePath(s)
	if err == nil && p.Depth() != 1 {
		err = errors.New("it is no id")
	}
	return p.Object(), err
}
