// What Grafana's packages do not draw, drawn simply: tables, heatmaps and states over time.
import React from 'react';
import { dateTimeFormat, formattedValueToString, getValueFormat } from '@grafana/data';

const format = (unit, value, decimals) =>
  typeof value === 'number' && unit ? formattedValueToString(getValueFormat(unit)(value, decimals)) : String(value ?? '');

// PostgreSQL's sums arrive as text.
const numeric = (value) =>
  typeof value === 'string' && value !== '' && !Number.isNaN(Number(value)) ? Number(value) : value;

export function SimpleTable({ panel, answers, theme, height }) {
  const { header, rows } = table(panel, answers);
  const properties = Object.fromEntries(
    panel.fieldConfig.overrides.map((each) => [
      each.matcher.options,
      Object.fromEntries(each.properties.map((property) => [property.id, property.value])),
    ]),
  );
  const cell = (name, value) => {
    const { unit = panel.fieldConfig.defaults.unit, decimals } = properties[name] ?? {};
    if (unit === 'dateTimeAsIso' && value) return dateTimeFormat(typeof value === 'number' ? value : Date.parse(value), { timeZone: 'utc' });
    return format(unit, numeric(value), decimals);
  };
  const line = { borderBottom: `1px solid ${theme.colors.border.weak}`, padding: '4px 8px', whiteSpace: 'nowrap' };
  return (
    <div style={{ height, overflow: 'hidden' }}>
      <table style={{ width: '100%', borderCollapse: 'collapse', fontSize: 12 }}>
        <thead>
          <tr>
            {header.map((name) => (
              <th key={name} style={{ ...line, textAlign: 'left', color: theme.colors.primary.text }}>{name}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row, number) => (
            <tr key={number}>
              {header.map((name) => (
                <td key={name} style={line}>{cell(name, row[name])}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function table(panel, answers) {
  const organize = panel.transformations?.find((each) => each.id === 'organize')?.options;
  if (!organize) {
    const { rows } = answers[0];
    return { header: Object.keys(rows[0] ?? {}), rows };
  }
  const merged = new Map();
  for (const { refId, rows } of answers) {
    for (const { Value, ...labels } of rows) {
      const key = JSON.stringify(labels);
      merged.set(key, { ...merged.get(key), ...labels, [answers.length > 1 ? `Value #${refId}` : 'Value']: Value });
    }
  }
  const names = Object.entries(organize.renameByName);
  const rows = [...merged.values()].map((row) => Object.fromEntries(names.map(([from, to]) => [to, row[from]])));
  const [sort] = panel.options.sortBy;
  if (sort) rows.sort((one, other) => (other[sort.displayName] ?? 0) - (one[sort.displayName] ?? 0));
  return { header: names.map(([, to]) => to), rows };
}

export function SimpleHeatmap({ panel, answers, scene, theme, width, height }) {
  const bound = (answer) => (answer.name === '+Inf' ? Infinity : Number(answer.name));
  const sorted = [...answers].sort((one, other) => bound(one) - bound(other));
  const points = sorted.map((answer) => new Map(zip(answer.fields[0].values, answer.fields[1].values)));
  // The buckets are cumulative; empty ones at both ends say nothing.
  const counts = points.map((own, place) => (time) => Math.max(0, (own.get(time) ?? 0) - (points[place - 1]?.get(time) ?? 0)));
  const times = range(scene.from, scene.to, scene.step).map((second) => second * 1000);
  const used = counts.map((count) => times.some((time) => count(time) > 0));
  const [first, last] = [used.indexOf(true), used.lastIndexOf(true)];
  const highest = Math.max(...counts.flatMap((count) => times.map(count)), 1e-9);
  const [left, bottom] = [60, 24];
  const [w, h] = [(width - left) / times.length, (height - bottom) / (last - first + 1)];
  const label = { fill: theme.colors.text.secondary, fontSize: 11 };
  return (
    <svg width={width} height={height}>
      {range(first, last + 1, 1).map((place) => (
        <g key={place} transform={`translate(0 ${(last - place) * h})`}>
          <text x={left - 6} y={h / 2 + 4} textAnchor="end" style={label}>
            {sorted[place].name === '+Inf' ? '+Inf' : format(panel.options.yAxis.unit, bound(sorted[place]))}
          </text>
          {times.map((time, number) => {
            const share = Math.sqrt(counts[place](time) / highest);
            return share > 0 && (
              <rect key={time} x={left + number * w} width={Math.max(w - 1, 1)} height={h - 1} fill="#ff9830" opacity={share} />
            );
          })}
        </g>
      ))}
      {[0, 0.25, 0.5, 0.75, 1].map((part) => (
        <text key={part} x={left + part * (width - left - 24)} y={height - 6} textAnchor={part ? 'middle' : 'start'} style={label}>
          {dateTimeFormat((scene.from + part * (scene.to - scene.from)) * 1000, { format: 'HH:mm', timeZone: 'utc' })}
        </text>
      ))}
    </svg>
  );
}

export function SimpleStates({ panel, answers, scene, theme, width }) {
  const states = panel.fieldConfig.defaults.mappings[0].options;
  const left = 220;
  const x = (time) => left + ((time / 1000 - scene.from) / (scene.to - scene.from)) * (width - left - 12);
  return (
    <svg width={width} height={answers.length * 34 + 8}>
      {answers.map((answer, row) => (
        <g key={row} transform={`translate(0 ${row * 34 + 4})`}>
          <text x={4} y={19} style={{ fill: theme.colors.text.secondary, fontSize: 11 }}>{answer.name}</text>
          {zip(answer.fields[0].values, answer.fields[1].values).map(([time, value]) => (
            <rect
              key={time}
              x={x(time)}
              width={x(time + scene.step * 1000) - x(time) + 0.5}
              height={28}
              fill={theme.visualization.getColorByName(states[String(value)].color)}
              opacity={0.7}
            />
          ))}
        </g>
      ))}
    </svg>
  );
}

const range = (from, to, step) => Array.from({ length: Math.max(0, Math.ceil((to - from) / step)) }, (_, n) => from + n * step);
const zip = (one, other) => one.map((each, place) => [each, other[place]]);
