// Asks what a panel asks, and returns Grafana's data frames.
import { FieldType, toDataFrame } from '@grafana/data';

export function scene({ prometheus, sql, job, now }) {
  const from = now - 24 * 3600;
  const step = 300;
  const values = { job, gateway: '.*', model: '.*', tag: 'team', __rate_interval: '10m', __range: '24h' };
  // What only the exporter reports is drawn as it looks where its job is chosen.
  const jobOf = (text) => (/pixelmeter_(budget|reconciliation|tag|jobs_open|oldest_job)_?/.test(text) ? 'pixelmeter-ledger' : job);
  const filled = (text) =>
    text.replace(/\$\{?(\w+)(?::\w+)?\}?/g, (all, name) => (name === 'job' ? jobOf(text) : values[name] ?? all));

  async function ask(path, parameters) {
    const answer = await fetch(`${prometheus}${path}?${new URLSearchParams(parameters)}`);
    const body = await answer.json();
    if (body.status !== 'success') throw new Error(body.error);
    return body.data.result;
  }

  // Grafana fills in the moments at which a series has no value.
  const moments = Array.from({ length: Math.floor((now - from) / step) + 1 }, (_, place) => from + place * step);

  async function promql(target) {
    const query = filled(target.expr);
    const series = target.instant
      ? (await ask('/api/v1/query', { query, time: now })).map((each) => ({ ...each, values: [each.value] }))
      : await ask('/api/v1/query_range', { query, start: from, end: now, step });
    return target.format === 'table' ? [tabular(target, series)] : series.map((each) => overTime(target, each, moments));
  }

  async function frames(panel) {
    const asked = panel.targets.map((target) => (target.expr ? promql(target) : fromRows(target, sql[panel.id])));
    return (await Promise.all(asked)).flat();
  }

  return { from, to: now, step, filled, frames };
}

function tabular(target, series) {
  const labels = [...new Set(series.flatMap((each) => Object.keys(each.metric)))];
  return { refId: target.refId, rows: series.map((each) => ({ ...each.metric, Value: +each.values[0][1] })), labels };
}

function overTime(target, { metric, values }, moments) {
  const name = target.legendFormat.replace(/{{\s*(\w+)\s*}}/g, (_, label) => metric[label] ?? '').trim();
  const known = new Map(values.map(([at, value]) => [+at, +value]));
  const times = target.instant ? [...known.keys()] : moments;
  return frame(target, name, metric, times.map((at) => at * 1000), times.map((at) => known.get(at) ?? null));
}

function fromRows(target, rows) {
  if (target.format === 'table') return [{ refId: target.refId, rows }];
  const times = [...new Set(rows.map((row) => row.time))].sort();
  return [...new Set(rows.map((row) => row.metric))].sort().map((name) => {
    const of = new Map(rows.filter((row) => row.metric === name).map((row) => [row.time, +row.value]));
    return frame(target, name, {}, times.map(Date.parse), times.map((time) => of.get(time) ?? null));
  });
}

function frame(target, name, labels, times, values) {
  return toDataFrame({
    refId: target.refId,
    name,
    fields: [
      { name: 'Time', type: FieldType.time, values: times },
      { name: name || 'Value', type: FieldType.number, labels, config: { displayNameFromDS: name || 'Value' }, values },
    ],
  });
}
