package query_test

import (
	"encoding/json"
	"errors"
	"iter"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/backend/internal/query"
)

// fleet is three devices.
var fleet = []string{
	`{"deviceId":"a","version":3,"tags":{"site":"north","floor":1},"properties":{"desired":{},"reported":{"temp":20.5,"on":true,"components":{"application/x":{"version":"1.0.0"}}}}}`,
	`{"deviceId":"b","version":5,"tags":{"site":"south","floor":2},"properties":{"desired":{},"reported":{"temp":25,"on":false,"name":"it's"}}}`,
	`{"deviceId":"c","version":7,"tags":{"site":"north","list":[1]},"properties":{"desired":{},"reported":{"temp":"hot"}}}`,
}

func documents(t testing.TB) iter.Seq2[query.Document, error] {
	return func(yield func(query.Document, error) bool) {
		for _, text := range fleet {
			decoder := json.NewDecoder(strings.NewReader(text))
			decoder.UseNumber()
			var d query.Document
			if err := decoder.Decode(&d); err != nil {
				t.Fatal(err)
			}
			if !yield(d, nil) {
				return
			}
		}
	}
}

func run(t *testing.T, text string) []query.Document {
	t.Helper()
	q, err := query.Parse(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if q.Aggregates() {
		rows, err := q.Groups(documents(t))
		if err != nil {
			t.Fatal(err)
		}
		return rows
	}
	var rows []query.Document
	for d := range documents(t) {
		if row, ok := q.Row(d); ok {
			rows = append(rows, row)
		}
	}
	return rows
}

func TestConditions(t *testing.T) {
	for condition, want := range map[string]string{
		`tags.site = 'north'`:    "ac",
		`tags.site != "north"`:   "b",
		`tags.site <> 'north'`:   "b",
		`tags.floor > 1`:         "b",
		`tags.floor >= 1`:        "ab",
		`tags.floor <= 1.0`:      "a",
		`tags.floor < 2e0`:       "a",
		`NOT tags.floor = 1`:     "b", // c has no floor: undefined
		`NOT NOT tags.floor=1`:   "a",
		`tags.floor != 1`:        "b",
		`tags.floor = '1'`:       "",
		`tags.floor = null`:      "",
		`tags.floor != null`:     "ab",
		`null = null`:            "abc",
		`is_defined(tags.floor)`: "ab",
		`NOT IS_DEFINED(tags.floor) AND tags.site = 'north'`:                                "c",
		`tags.floor = 1 OR tags.site = 'south' AND version = 5`:                             "ab",
		`(tags.floor = 1 OR tags.site = 'south') AND version = 5`:                           "b",
		`tags.floor = 9 OR tags.site = 'north'`:                                             "ac", // undefined OR true is true
		`properties.reported.on`:                                                            "a",
		`properties.reported.on = false`:                                                    "b",
		`properties.reported.name = 'it\'s'`:                                                "b",
		`properties.reported.name = 'it''s'`:                                                "b",
		`properties.reported.components.[[application/x]].version = '1.0.0'`:                "a",
		`properties.reported.temp * 2 - 1 = 40`:                                             "a",
		`properties.reported.temp / 0 = 1`:                                                  "",
		`-properties.reported.temp < -21`:                                                   "b",
		`version % 4 = 3`:                                                                   "ac",
		`version - 1 - 1 = 1`:                                                               "a",
		`deviceId IN ['a', 'c']`:                                                            "ac",
		`deviceId IN ('a')`:                                                                 "a",
		`deviceId NIN ['a', 'c']`:                                                           "b",
		`deviceId NOT IN ['a', 'c']`:                                                        "b",
		`tags.floor IN []`:                                                                  "",
		`starts_with(tags.site, 'no') AND ENDS_WITH(tags.site,'h')`:                         "ac",
		`CONTAINS(deviceId, 'b') OR INDEX_OF(tags.site, 'th') = 9`:                          "b",
		`LENGTH(CONCAT(deviceId, tags.site)) = 6 AND UPPER(deviceId) = 'A'`:                 "a",
		`SUBSTRING(tags.site, 1, 3) = 'ort' AND SUBSTRING(tags.site, 3) = 'th'`:             "ac",
		`IS_STRING(properties.reported.temp) OR IS_OBJECT(tags.site) OR IS_NULL(tags.site)`: "c",
		`IS_ARRAY(tags.list) AND NOT IS_PRIMITIVE(tags.list) AND NOT IS_BOOL(tags.list)`:    "c",
		`IS_NUMBER(properties.reported.temp) AND FLOOR(properties.reported.temp) = 20 AND CEILING(properties.reported.temp) = 21`:           "a",
		`ABS(-1) = 1 AND SQRT(SQUARE(3)) = 3 AND POWER(2,3) = 8 AND SIGN(-9) = -1 AND EXP(0) = 1 AND AS_NUMBER('7') = 7 AND LOWER('A')='a'`: "abc",
		`devices.deviceId = 'a'`: "a",
		`deviceId`:               "", // no truth value
	} {
		var ids string
		for _, row := range run(t, "select * from devices where "+condition) {
			ids += row["deviceId"].(string)
		}
		if ids != want {
			t.Errorf("%s: %q, want %q", condition, ids, want)
		}
	}
}

// TestLongTexts: a text does not grow beyond what a few of them may take of the memory.
func TestLongTexts(t *testing.T) {
	q, err := query.Parse("SELECT CONCAT(tags.a,tags.a) AS twice, CONCAT(tags.a,tags.a,tags.a,tags.a,tags.a) AS much FROM devices")
	if err != nil {
		t.Fatal(err)
	}
	row, _ := q.Row(query.Document{"tags": query.Document{"a": strings.Repeat("x", 4000)}})
	if twice, _ := row["twice"].(string); len(twice) != 8000 || row["much"] != nil {
		t.Errorf("%.100v", row)
	}
}

func TestRows(t *testing.T) {
	for text, want := range map[string]string{
		`SELECT deviceId, properties.reported.temp AS t, tags.floor FROM devices`:                                                       `[{"deviceId":"a","floor":1,"t":20.5},{"deviceId":"b","floor":2,"t":25},{"deviceId":"c","t":"hot"}]`,
		`SELECT version * 2, version v FROM devices WHERE deviceId = 'a'`:                                                               `[{"$1":6,"v":3}]`,
		`SELECT COUNT() AS n, SUM(version), AVG(properties.reported.temp) AS t, MIN(version) AS low, MAX(version) AS high FROM devices`: `[{"$2":15,"high":7,"low":3,"n":3,"t":22.75}]`,
		`SELECT tags.site AS site, COUNT(*) AS n FROM devices GROUP BY tags.site`:                                                       `[{"n":2,"site":"north"},{"n":1,"site":"south"}]`,
		`SELECT tags.floor, COUNT() AS n FROM devices GROUP BY tags.floor`:                                                              `[{"n":1},{"floor":1,"n":1},{"floor":2,"n":1}]`,
		`SELECT COUNT() AS n, AVG(version) FROM devices WHERE FALSE`:                                                                    `[{"n":0}]`,
		`SELECT tags.site, COUNT() FROM devices WHERE FALSE GROUP BY tags.site`:                                                         `null`,
	} {
		got, err := json.Marshal(run(t, text))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

func TestParse(t *testing.T) {
	q, err := query.Parse("select top 5 * from devices.modules")
	if err != nil || q.Top != 5 || q.From != "devices.modules" || !q.Whole() || q.Aggregates() {
		t.Error(q, err)
	}
	q, err = query.Parse("SELECT * FROM devices.jobs WHERE devices.jobs.jobId = 'x'")
	if err != nil || q.From != "devices.jobs" || !q.Matches(query.Document{"jobId": "x"}) {
		t.Error(q, err)
	}
	for text, position := range map[string]int{
		"": 0, "SELECT": 6, "SELECT * FROM": 13, "SELECT * FROM twins": 19, "SELECT * FROM devices WHERE": 27, "SELECT * FROM devices x": 22,
		"SELECT TOP 0 * FROM devices": 13, "SELECT * FROM devices WHERE a = 'b": 32, "SELECT * FROM devices WHERE a = [[b": 32,
		"SELECT * FROM devices WHERE f(1)": 28, "SELECT * FROM devices WHERE IS_DEFINED()": 40, "SELECT * FROM devices WHERE a ; b": 30,
		"SELECT a FROM devices GROUP BY b": 32, "SELECT * FROM devices GROUP BY a": 32, "SELECT a FROM devices WHERE a IN [1": 35,
		"SELECT * FROM devices WHERE " + strings.Repeat("(", 100): 78, "SELECT a, COUNT() FROM devices": 30, "SELECT * FROM devices WHERE 1.2.3 = a": 28,
	} {
		_, err := query.Parse(text)
		if e, ok := errors.AsType[*query.Error](err); !ok || e.Position != position {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := query.Parse(strings.Repeat(" ", 20_000)); err == nil {
		t.Error("an endless query is read")
	}
}

func TestConditionAlone(t *testing.T) {
	for text, want := range map[string]bool{"*": true, "tags.a = 1": false, "deviceId = 'x'": true} {
		q, err := query.ParseCondition(text)
		if err != nil || q.Matches(query.Document{"deviceId": "x"}) != want {
			t.Error(text, err)
		}
	}
	if _, err := query.ParseCondition("tags.a = 1 GROUP BY b"); err == nil {
		t.Error("more than a condition")
	}
}

// FuzzParse: whatever is understood can be asked, and its rows are JSON.
func FuzzParse(f *testing.F) {
	f.Add("SELECT TOP 3 deviceId, tags.[[a b]] AS x FROM devices WHERE NOT a.b >= -1.5 AND f IN ['x', \"y\"] OR IS_DEFINED(z)")
	f.Add("SELECT COUNT() AS n, tags.site FROM devices GROUP BY tags.site")
	f.Add("select version/0, POWER(version, 9999), SUBSTRING(deviceId, 1e300, version) from devices.jobs where devices.jobs.x <> 'it''s'")
	f.Fuzz(func(t *testing.T, text string) {
		q, err := query.Parse(text)
		if err != nil {
			if _, ok := errors.AsType[*query.Error](err); !ok {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		var rows []query.Document
		if q.Aggregates() {
			if rows, err = q.Groups(documents(t)); err != nil {
				t.Fatal(err)
			}
		} else {
			for d := range documents(t) {
				if row, ok := q.Row(d); ok {
					rows = append(rows, row)
				}
			}
		}
		if _, err := json.Marshal(rows); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	})
}
