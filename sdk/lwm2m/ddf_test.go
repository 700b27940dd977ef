package lwm2m

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const ddf = `<?xml version="1.0" encoding="UTF-8"?>
<LWM2M><Object ObjectType="MODefinition">
  <Name>Valve</Name><Description1>What it is.</Description1><ObjectID>33000</ObjectID><ObjectVersion>1.1</ObjectVersion>
  <MultipleInstances>Multiple</MultipleInstances><Mandatory>Optional</Mandatory>
  <Resources>
    <Item ID="2"><Name>Open</Name><Operations>E</Operations><MultipleInstances>Single</MultipleInstances><Mandatory>Mandatory</Mandatory>
      <Type></Type><RangeEnumeration></RangeEnumeration><Units></Units><Description></Description></Item>
    <Item ID="1"><Name>Position</Name><Operations>RW</Operations><MultipleInstances>Multiple</MultipleInstances><Mandatory>Optional</Mandatory>
      <Type>Unsigned Integer</Type><RangeEnumeration>0..100</RangeEnumeration><Units>/100</Units><Description>How far.</Description></Item>
  </Resources>
</Object></LWM2M>`

func TestParseDDF(t *testing.T) {
	got, err := ParseDDF(strings.NewReader(ddf))
	want := []Definition{{
		ID: 33000, Name: "Valve", Version: "1.1", Multiple: true, Description: "What it is.",
		Resources: []Resource{
			{ID: 1, Name: "Position", Operations: RW, Kind: KindUnsigned, Multiple: true, Units: "/100", Range: "0..100", Description: "How far."},
			{ID: 2, Name: "Open", Operations: E, Mandatory: true},
		},
	}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestParseDDFRefuses(t *testing.T) {
	for _, change := range [][2]string{
		{"33000", "65535"},
		{"33000", "1/2"},
		{"33000", ""},
		{">Multiple<", ">Many<"},
		{">RW<", ">X<"},
		{"Unsigned Integer", "Number"},
		{`"2"`, `"1"`},
		{`"2"`, `"-1"`},
		{"</LWM2M>", ""},
		{ddf, "<LWM2M/>"},
		{ddf, ""},
	} {
		changed := strings.Replace(ddf, change[0], change[1], 1)
		if d, err := ParseDDF(strings.NewReader(changed)); err == nil {
			t.Errorf("%q instead of %.20q: %+v, want an error", change[1], change[0], d)
		}
	}
}

func FuzzDDF(f *testing.F) {
	f.Add(ddf)
	f.Fuzz(func(t *testing.T, s string) {
		list, err := ParseDDF(strings.NewReader(s))
		if err != nil {
			return
		}
		for _, d := range list {
			for _, r := range d.Resources {
				if found, ok := d.Resource(r.ID); !ok || found != r {
					t.Fatalf("%d is not found, or is there twice", r.ID)
				}
			}
		}
	})
}

func TestLibrary(t *testing.T) {
	var l Library
	l.Add(Definition{ID: 7, Version: "1.10", Name: "new"}, Definition{ID: 7, Name: "old"}, Definition{ID: 7, Version: "1.9"}, Definition{ID: 7, Version: "1.0", Name: "older"})
	for version, name := range map[string]string{"": "new", "1.0": "older", "1.9": "", "2.0": "new"} {
		if d, ok := l.Definition(7, version); !ok || d.Name != name {
			t.Errorf("version %q is %q", version, d.Name)
		}
	}
}
