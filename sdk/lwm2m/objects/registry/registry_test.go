package registry_test

import (
	"testing"
	"testing/fstest"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects/registry"
)

func TestVersions(t *testing.T) {
	library := registry.Library()
	for id := range uint16(10) {
		if _, ok := library.Definition(id, "1.0"); !ok {
			t.Errorf("object %d is missing", id)
		}
	}
	for _, tt := range []struct {
		version, found string
		severity       bool
	}{{"1.0", "1.0", false}, {"1.1", "1.1", true}, {"", "1.1", true}, {"7.3", "1.1", true}} {
		d, _ := library.Definition(5, tt.version)
		if _, ok := d.Resource(11); d.Version != tt.found || ok != tt.severity || d.Name != "Firmware Update" || d.Multiple {
			t.Errorf("object 5 version %q: %q %q, Severity %v", tt.version, d.Name, d.Version, ok)
		}
	}
	r, _ := library.Definition(3, "1.0")
	if bind, _ := r.Resource(16); bind.Kind != lwm2m.KindString || bind.Operations != lwm2m.R || !bind.Mandatory {
		t.Errorf("/3/0/16: %+v", bind)
	}
	if _, ok := library.Definition(4711, ""); ok {
		t.Error("an object that is not there")
	}
}

// TestModel takes the versions that a device says it has.
func TestModel(t *testing.T) {
	links, err := lwm2m.DecodeLinks([]byte(`</lwm2m>;rt="oma.lwm2m",</lwm2m/5>;ver=1.1,</lwm2m/5/0>,</lwm2m/4/0>`))
	if err != nil {
		t.Fatal(err)
	}
	model := registry.Library().Model(lwm2m.Registration{Links: links, Root: "lwm2m"})
	if v := model[5].Version; v != "1.1" {
		t.Errorf("object 5 has version %q", v)
	}
	if v := model[4].Version; v != "" && v != "1.0" {
		t.Errorf("object 4 has version %q", v)
	}
}

// TestObjects holds the definitions that are written in Go against those by version.
func TestObjects(t *testing.T) {
	library := registry.Library()
	for id, d := range objects.Model() {
		version := d.Version
		if version == "" {
			version = "1.0"
		}
		official, ok := library.Definition(id, version)
		if !ok {
			continue // our own
		}
		if d.Multiple != official.Multiple {
			t.Errorf("object %d: Multiple is %v", id, d.Multiple)
		}
		for _, r := range d.Resources {
			o, ok := official.Resource(r.ID)
			if !ok || r.Kind != o.Kind || r.Operations != o.Operations || r.Multiple != o.Multiple || r.Mandatory != o.Mandatory {
				t.Errorf("/%d/*/%d is %+v, in the registry %+v", id, r.ID, r, o)
			}
		}
	}
}

const valve = `<LWM2M><Object><Name>Valve</Name><ObjectID>33000</ObjectID><MultipleInstances>Single</MultipleInstances><Mandatory>Optional</Mandatory>
<Resources><Item ID="1"><Name>Position</Name><Operations>RW</Operations><MultipleInstances>Single</MultipleInstances><Mandatory>Mandatory</Mandatory>
<Type>Float</Type></Item></Resources></Object></LWM2M>`

func TestReadFolder(t *testing.T) {
	list, err := registry.Read(fstest.MapFS{"bad.xml": {Data: []byte("<LWM2M/>")}, "valve.xml": {Data: []byte(valve)}, "notes.txt": {}})
	if err == nil || len(list) != 1 || list[0].ID != 33000 || list[0].Resources[0].Kind != lwm2m.KindFloat {
		t.Errorf("%+v, %v: want the valve, and an error for the other file", list, err)
	}
}
