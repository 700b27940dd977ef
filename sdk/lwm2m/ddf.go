package lwm2m

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// The XML of an object definition (LWM2M.xsd, OMA-TS-LightweightM2M_Core-V1_1
// appendix D). Elements that are not named here are not needed.
type ddfFile struct {
	Objects []ddfObject `xml:"Object"`
}

type ddfObject struct {
	Name      string        `xml:"Name"`
	Text      string        `xml:"Description1"`
	ID        string        `xml:"ObjectID"`
	Version   string        `xml:"ObjectVersion"`
	Multiple  string        `xml:"MultipleInstances"`
	Mandatory string        `xml:"Mandatory"`
	Resources []ddfResource `xml:"Resources>Item"`
}

type ddfResource struct {
	ID         string `xml:"ID,attr"`
	Name       string `xml:"Name"`
	Operations string `xml:"Operations"`
	Multiple   string `xml:"MultipleInstances"`
	Mandatory  string `xml:"Mandatory"`
	Type       string `xml:"Type"`
	Range      string `xml:"RangeEnumeration"`
	Units      string `xml:"Units"`
	Text       string `xml:"Description"`
}

// ParseDDF reads the definitions of one file of the OMA registry, or of one that
// is written like them. It refuses what it cannot understand as a whole: ids out
// of range or given twice, unknown types and operations.
func ParseDDF(r io.Reader) ([]Definition, error) {
	var file ddfFile
	if err := xml.NewDecoder(r).Decode(&file); err != nil {
		return nil, fmt.Errorf("cannot read object definitions: %w", err)
	}
	if len(file.Objects) == 0 {
		return nil, errors.New("cannot read object definitions: there are none")
	}
	definitions := make([]Definition, 0, len(file.Objects))
	for _, o := range file.Objects {
		d, err := o.definition()
		if err != nil {
			return nil, fmt.Errorf("cannot read the definition of object %.20q: %w", o.ID, err)
		}
		definitions = append(definitions, d)
	}
	return definitions, nil
}

func (o ddfObject) definition() (d Definition, err error) {
	d = Definition{
		Name: strings.TrimSpace(o.Name), Description: strings.TrimSpace(o.Text), Version: strings.TrimSpace(o.Version),
	}
	if d.ID, err = ddfID(o.ID); err != nil {
		return d, err
	}
	if d.Multiple, err = ddfChoice(o.Multiple, "Multiple", "Single"); err != nil {
		return d, err
	}
	if d.Mandatory, err = ddfChoice(o.Mandatory, "Mandatory", "Optional"); err != nil {
		return d, err
	}
	for _, item := range o.Resources {
		r, err := item.resource()
		if err != nil {
			return d, fmt.Errorf("resource %.20q: %w", item.ID, err)
		}
		if _, twice := d.Resource(r.ID); twice {
			return d, fmt.Errorf("resource %d is there twice", r.ID)
		}
		d.Resources = append(d.Resources, r)
	}
	slices.SortFunc(d.Resources, func(a, b Resource) int { return int(a.ID) - int(b.ID) })
	return d, nil
}

func (i ddfResource) resource() (r Resource, err error) {
	r = Resource{
		Name: strings.TrimSpace(i.Name), Units: strings.TrimSpace(i.Units),
		Range: strings.TrimSpace(i.Range), Description: strings.TrimSpace(i.Text),
	}
	if r.ID, err = ddfID(i.ID); err != nil {
		return r, err
	}
	if r.Multiple, err = ddfChoice(i.Multiple, "Multiple", "Single"); err != nil {
		return r, err
	}
	if r.Mandatory, err = ddfChoice(i.Mandatory, "Mandatory", "Optional"); err != nil {
		return r, err
	}
	if r.Operations, err = ddfOperations(i.Operations); err != nil {
		return r, err
	}
	r.Kind, err = ddfKind(i.Type)
	return r, err
}

func ddfID(s string) (uint16, error) {
	p, err := ParsePath(strings.TrimSpace(s))
	if err != nil || p.Depth() != 1 {
		return 0, errors.New("the id is not a number from 0 to 65534")
	}
	return p.Object(), nil
}

func ddfChoice(s, yes, no string) (bool, error) {
	switch strings.TrimSpace(s) {
	case yes:
		return true, nil
	case no:
		return false, nil
	}
	return false, fmt.Errorf("%.20q is neither %s nor %s", s, yes, no)
}

func ddfOperations(s string) (o Operations, err error) {
	for _, letter := range strings.TrimSpace(s) {
		switch letter {
		case 'R':
			o |= R
		case 'W':
			o |= W
		case 'E':
			o |= E
		default:
			return 0, fmt.Errorf("the operations %.20q are not of R, W and E", s)
		}
	}
	return o, nil
}

var ddfKinds = map[string]Kind{
	"": KindNone, "String": KindString, "Integer": KindInteger, "Unsigned Integer": KindUnsigned, "Unsigned": KindUnsigned,
	"Float": KindFloat, "Boolean": KindBoolean, "Opaque": KindOpaque, "Time": KindTime, "Objlnk": KindLink,
	"Corelnk": KindString, // a text in link format
}

func ddfKind(s string) (Kind, error) {
	k, ok := ddfKinds[strings.TrimSpace(s)]
	if !ok {
		return KindNone, fmt.Errorf("the type %.20q is unknown", s)
	}
	return k, nil
}
