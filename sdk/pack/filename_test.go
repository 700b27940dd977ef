package pack

import "testing"

func TestParseFileName(t *testing.T) {
	for _, test := range []struct {
		name string
		want FileName // zero: refused
		of   string
	}{
		{"container.Java8.java_8_container_v1_3_0_b.tar", FileName{"container", "Java8", "java_8_container_v1_3_0_b.tar"}, "container/java8"},
		{"application.sensor-adapter.sensor-adapter_v2_0_0.tar.gz", FileName{"application", "sensor-adapter", "sensor-adapter_v2_0_0.tar.gz"}, "application/sensor-adapter"},
		{"", FileName{}, ""},
		{"container.Java8.tar", FileName{}, ""},
		{"container.Java8.x/../y.tar", FileName{}, ""},
		{"container.Java8.x..tar", FileName{}, ""},
		{"container..x.tar", FileName{}, ""},
		{"../etc.x.tar", FileName{}, ""},
		{"Container.Java8.x.tar", FileName{}, ""},
		{"container.Java8.x.tar\n", FileName{}, ""},
	} {
		got, err := ParseFileName(test.name)
		if got != test.want || (err == nil) != (test.want != FileName{}) {
			t.Errorf("%q: got %+v, %v", test.name, got, err)
		}
		if err == nil && (got.String() != test.name || got.Component() != test.of) {
			t.Errorf("%q: reads back as %q of %s", test.name, got, got.Component())
		}
	}
}

func TestDefaultFileName(t *testing.T) {
	m := Manifest{Type: "application", Name: "greeter", Version: "2.0.0-rc.1"}
	if got, want := DefaultFileName(m).String(), "application.greeter.greeter_v2_0_0-rc_1.tar"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func FuzzParseFileName(f *testing.F) {
	f.Add("container.Java8.java_8_container_v1_3_0_b.tar")
	f.Add("../..")
	f.Fuzz(func(t *testing.T, s string) {
		name, err := ParseFileName(s)
		if err != nil {
			return
		}
		if name.String() != s || CheckComponent(name.Component()) != nil && len(name.Type) <= maxName && len(name.Name) <= maxName {
			t.Errorf("%q reads back as %q of %s", s, name, name.Component())
		}
	})
}
